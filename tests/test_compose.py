"""docker-compose.yml, as far as it goes without Docker: its form, and its very commands as processes of ours."""

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from tests import real_services
from tests.test_settings import DOCUMENTED

CHECKOUT = Path(__file__).resolve().parent.parent
PATIENCE = 90  # seconds for anything that is on its way
FILE = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
GIVEN = {
    "PUBLIC_URL": "https://scanner.example.org",
    "SECRET_KEY_FILE": "./secrets/secret_key",
    "POSTGRES_PASSWORD_FILE": "./secrets/postgres_password",
}
OURS = ("migrate", "web", "worker", "sender", "beat")
NOT_FOR_CONTAINERS = {"HOST", "PORT", "SCANNER_DATA", "DEBUG", "SECRET_KEY", "DATABASE_PASSWORD"} | {
    "DATABASE_URL_FILE",
    "REDIS_URL_FILE",
}
# ${NAME:-default} ${NAME:?message} $$
VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?P<kind>:[-?])(?P<rest>[^}]*)\})")


def interpolated(value: Any, given: Mapping[str, str]) -> Any:
    """What Compose makes of the variables in the file."""
    if isinstance(value, dict):
        return {key: interpolated(each, given) for key, each in value.items()}
    if isinstance(value, list):
        return [interpolated(each, given) for each in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        if match["kind"] == ":?" and not given.get(match["name"]):
            raise KeyError(f"{match['name']}: {match['rest']}")
        return given.get(match["name"]) or match["rest"]

    return VARIABLE.sub(replace, value)


SERVICES = interpolated(FILE, GIVEN)["services"]


def wait_until(true: Callable[[], Any], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, what()
        time.sleep(0.5)


# --- its form ---------------------------------------------------------------------------------------


def test_it_keeps_to_the_compose_schema() -> None:
    # this takes seconds, which every worker would need to collect the tests
    from check_jsonschema.builtin_schemas import get_builtin_schema  # noqa: PLC0415
    from jsonschema import Draft7Validator  # noqa: PLC0415

    schema = get_builtin_schema("vendor.compose-spec")
    assert [error.message for error in Draft7Validator(schema).iter_errors(interpolated(FILE, GIVEN))] == []


@pytest.mark.parametrize("name", sorted(GIVEN))
def test_it_has_no_default_for_a_secret_or_the_public_address(name: str) -> None:
    with pytest.raises(KeyError, match=name):
        interpolated(FILE, {**GIVEN, name: ""})


def test_every_setting_reaches_the_containers() -> None:
    for service in OURS:
        passed = set(SERVICES[service]["environment"]) - {"REMAP_SIGTERM"}
        assert passed == set(DOCUMENTED) - NOT_FOR_CONTAINERS, service


def test_only_loopback_is_published_and_only_by_the_web_server() -> None:
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "web": ["127.0.0.1:8000:8000"]
    }


def test_every_lasting_service_has_a_health_check_and_is_restarted() -> None:
    for name in set(SERVICES) - {"migrate"}:
        assert SERVICES[name]["healthcheck"]["test"], name
        assert SERVICES[name]["restart"] == "unless-stopped", name


@pytest.mark.parametrize("worker", ["worker", "sender"])
def test_a_worker_may_finish_its_soft_shutdown(settings: Any, worker: str) -> None:
    assert SERVICES[worker]["environment"]["REMAP_SIGTERM"] == "SIGQUIT"
    assert int(SERVICES[worker]["stop_grace_period"].rstrip("s")) > settings.CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT + 5


def test_the_image_runs_the_same_web_server_as_user_of_its_own() -> None:
    lines = (CHECKOUT / "Dockerfile").read_text().splitlines()
    command = json.loads(next(line for line in lines if line.startswith("CMD ")).removeprefix("CMD "))
    assert " ".join(command) == " ".join(SERVICES["web"]["command"]).replace("=", " ")
    assert [line for line in lines if line.startswith("USER ")] == ["USER scanner"]


# --- its commands -----------------------------------------------------------------------------------


class Containers:
    """The services' own commands and environments, against the suite's servers instead of db and redis."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        for secret in ("secret_key", "postgres_password"):
            (folder / secret).write_text(secrets.token_urlsafe(48) + "\n")
        (folder / "data").mkdir()
        self.replaced = {
            "/run/secrets": str(folder),
            "postgresql://scanner@db:5432/scanner": real_services.environment(database)["DATABASE_URL"],
            "redis://redis:6379/0": os.environ["REDIS_URL"],
            "8000": str(self.port),
            "0.0.0.0": "127.0.0.1",
        }

    def here(self, text: str) -> str:
        for theirs, ours in self.replaced.items():
            text = text.replace(theirs, ours)
        return text

    def environment(self, service: str) -> dict[str, str]:
        given = SERVICES[service]["environment"]
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOSTNAME": socket.gethostname(),
            "SCANNER_DATA": str(self.folder / "data"),
            "PYTHONUNBUFFERED": "1",
            **{name: self.here(value) for name, value in given.items() if value is not None},
        }

    def log(self, service: str) -> Path:
        return self.folder / f"{service}.log"

    def start(self, service: str) -> "subprocess.Popen[bytes]":
        with self.log(service).open("wb") as log:
            self.running[service] = subprocess.Popen(
                [self.here(word) for word in SERVICES[service]["command"]],
                cwd=CHECKOUT,
                env=self.environment(service),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.running[service]

    def check(self, service: str) -> "subprocess.CompletedProcess[str]":
        """Its health check, once."""
        kind, *words = [self.here(word) for word in SERVICES[service]["healthcheck"]["test"]]
        argv = words if kind == "CMD" else ["sh", "-c", *words]
        return self.run(argv, service)

    def run(self, argv: list[str], service: str) -> "subprocess.CompletedProcess[str]":
        environment = self.environment(service)
        return subprocess.run(
            argv, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    def wait_until_healthy(self, service: str) -> None:
        wait_until(
            lambda: self.running[service].poll() is not None or self.check(service).returncode == 0,
            lambda: f"{service}: {self.check(service)}\n{self.log(service).read_text()}",
        )
        assert self.running[service].poll() is None, self.log(service).read_text()

    def kill(self) -> None:
        for process in self.running.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    name = f"compose_{os.getpid()}"
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as postgres:
        postgres.execute(f"CREATE DATABASE {name}")
        containers = Containers(tmp_path, name)
        try:
            yield containers
        finally:
            containers.kill()
            postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.end_to_end
def test_the_commands_of_every_service_start_are_healthy_and_stop(containers: Containers) -> None:
    lines = (CHECKOUT / "Dockerfile").read_text().splitlines()
    collect = next(line for line in lines if "collectstatic" in line).removeprefix("RUN ")
    assert containers.run(["sh", "-c", collect], "web").returncode == 0
    assert containers.start("migrate").wait(PATIENCE) == 0, containers.log("migrate").read_text()
    lasting = ("web", "worker", "sender", "beat")
    for service in lasting:
        containers.start(service)
    for service in lasting:
        containers.wait_until_healthy(service)
    for service in reversed(lasting):
        containers.running[service].terminate()
    for service in lasting:
        # uvicorn stops in order, then ends itself with the signal that it got
        assert containers.running[service].wait(PATIENCE) in (0, -signal.SIGTERM), containers.log(service).read_text()
        assert "Traceback" not in containers.log(service).read_text()
        assert "healthz" not in containers.log(service).read_text(), "an access log would hold sign-in links"


def test_its_environment_passes_the_deployment_check(containers: Containers) -> None:
    check = containers.run(["python", "manage.py", "check", "--deploy", "--fail-level", "WARNING"], "web")
    assert check.returncode == 0, check.stderr
