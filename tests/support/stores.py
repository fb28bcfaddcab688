"""Real stores at a distance, as processes on the loopback address: S3 by moto's server, and XRootD's own server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.programs import lack, need_program
from tests.support.servers import end_process, find_port, wait_until

_CONFIG = """\
all.export /data
oss.localroot {folder}/root
all.adminpath {folder}/admin
all.pidpath {folder}/admin
xrd.port 1094
xrootd.chksum max 2 adler32
"""


@dataclass
class S3Server:
    """An S3 server with one bucket."""

    folder: Path
    bucket: str = "farm"
    port: int = field(default_factory=find_port)
    process: subprocess.Popen[bytes] | None = None
    _system: Any = None

    @property
    def environ(self) -> dict[str, str]:
        """What a pilot needs to reach it."""
        return {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "the-secret-of-the-store",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def start(self) -> None:
        log = (self.folder / "moto.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()

        def answers() -> bool:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/moto-api/", timeout=2) as reply:
                    return bool(reply.status == 200)
            except OSError:
                return False

        wait_until(answers, 60, "the S3 server's answer")
        self.system.mkdir(self.bucket)

    def stop(self) -> None:
        if self.process is not None:
            end_process(self.process)

    @property
    def system(self) -> Any:
        """The store as the test sees it."""
        if self._system is None:
            import s3fs

            self._system = s3fs.S3FileSystem(
                key="key",
                secret="the-secret-of-the-store",
                endpoint_url=f"http://127.0.0.1:{self.port}",
                use_listings_cache=False,
                skip_instance_cache=True,
            )
        return self._system

    def put(self, name: str, content: bytes) -> str:
        self.system.pipe_file(f"{self.bucket}/{name}", content)
        return f"s3://{self.bucket}/{name}"

    def get(self, url: str) -> bytes:
        return bytes(self.system.cat_file(url))

    def list(self, prefix: str = "") -> list[str]:
        return sorted(self.system.find(f"{self.bucket}/{prefix}"))


@dataclass
class XRootDServer:
    """An XRootD server with one folder, `/data`.

    It binds every address, so it gets a network of its own, and it refuses to be root. Whoever is to reach it is
    started with `prefix`.
    """

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="xrootd-")))
    process: subprocess.Popen[bytes] | None = None

    @property
    def prefix(self) -> tuple[str, ...]:
        """The command that runs others in the server's network."""
        assert self.process is not None
        return (need_program("nsenter", "util-linux"), f"--net=/proc/{self.process.pid}/ns/net")

    @property
    def data(self) -> Path:
        """Where its files are."""
        return self.folder / "root" / "data"

    def start(self) -> None:
        unshare = need_program("unshare", "util-linux")
        if os.geteuid() != 0 or subprocess.run([unshare, "--net", "true"], check=False, capture_output=True).returncode:
            lack("the XRootD server needs a network of its own, which only root may make")
        server, ip = need_program("xrootd", "xrootd-server"), need_program("ip", "iproute2")
        self.folder.chmod(0o755)
        self.data.mkdir(parents=True)
        (self.folder / "admin").mkdir()
        for path in (self.folder, *self.folder.rglob("*")):
            shutil.chown(path, "nobody", "nogroup")
        config = self.folder / "xrootd.cfg"
        config.write_text(_CONFIG.format(folder=self.folder))
        drop = "setpriv --reuid=nobody --regid=nogroup --clear-groups"
        script = f"{ip} link set lo up && exec {drop} {server} -c {config} -n test"
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [unshare, "--net", "--", "sh", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(lambda: b"initialization completed" in (self.folder / "log").read_bytes(), 20, "the XRootD server")

    def stop(self) -> None:
        if self.process is not None:
            end_process(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)
