import gc

from django.apps import AppConfig


class ScannerConfig(AppConfig):
    name = "scanner"
    verbose_name = "Package security scanner"

    def ready(self) -> None:
        gc.freeze()  # what has been imported is never looked at again: processes of a pool go on sharing it
        gc.enable()
