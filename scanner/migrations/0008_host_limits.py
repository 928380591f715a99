from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        ('scanner', '0007_hosts_keep_counts'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='HostLimit',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('user', models.OneToOneField(blank=True, null=True, on_delete=models.CASCADE, related_name='host_limit', to=settings.AUTH_USER_MODEL)),
                ('group', models.OneToOneField(blank=True, null=True, on_delete=models.CASCADE, related_name='host_limit', to='auth.group')),
                ('tags', models.ManyToManyField(blank=True, help_text='Hosts with one of these are seen, and no others. Those of a user and of the groups add up.', related_name='limits', to='scanner.tag')),
            ],
            options={
                'verbose_name': 'limit to hosts by tag',
                'verbose_name_plural': 'limits to hosts by tag',
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('group__isnull', False), ('user', None)), models.Q(('group', None), ('user__isnull', False)), _connector='OR'), name='a_limit_is_of_a_user_or_a_group', violation_error_message='A limit is of a user or of a group: name one of them.')],
            },
        ),
        migrations.AddField(
            model_name='apitoken',
            name='limited',
            field=models.BooleanField(default=False, editable=False, help_text='To the hosts that have one of its tags.'),
        ),
        migrations.AddField(
            model_name='apitoken',
            name='tags',
            field=models.ManyToManyField(blank=True, editable=False, related_name='tokens', to='scanner.tag'),
        ),
        migrations.AddConstraint(
            model_name='apitoken',
            constraint=models.CheckConstraint(condition=models.Q(('limited', True), ('scope', 'admin'), _negated=True), name='a_limited_token_manages_nothing', violation_error_message='Scope admin is about all hosts: a token with it cannot be limited to tags.'),
        ),
    ]
