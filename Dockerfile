# One image; docker-compose.yml says what each container of it does.
FROM python:3.13-slim-bookworm

WORKDIR /app
COPY requirements/base.txt requirements/
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/base.txt

COPY manage.py ./
COPY scanner scanner
COPY tasks tasks
COPY frontend frontend
COPY project project

RUN useradd --uid 10001 --no-create-home --home-dir /data scanner \
    && install --directory --owner scanner --group scanner --mode 700 /data
ENV SCANNER_DATA=/data PYTHONUNBUFFERED=1
USER scanner
# The key is for this one command and stays out of the image.
RUN SECRET_KEY=unused python manage.py collectstatic --noinput --verbosity 0

EXPOSE 8000
CMD ["uvicorn", "project.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--lifespan", "off", "--no-server-header", "--no-proxy-headers", "--no-access-log", "--timeout-graceful-shutdown", "3"]
