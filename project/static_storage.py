"""Static files with a hash in their name and compressed twins, our own module imports rewritten."""

from servestatic.storage import CompressedManifestStaticFilesStorage


class Storage(CompressedManifestStaticFilesStorage):
    support_js_module_import_aggregation = True
    # A JSDoc `import("../htmx")` in django-htmx's files looks like an import and would fail the build: own files only.
    _js_module_import_aggregation_patterns = (
        "frontend/*.js",
        CompressedManifestStaticFilesStorage._js_module_import_aggregation_patterns[1],
    )
