"""Certificates for the far ends of tests, made by openssl: an authority of our own, and what may be wrong with one."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files: the certificate, its key, and both in one."""

    path: Path

    @property
    def key(self) -> Path:
        return self.path.with_suffix(".key")

    @property
    def with_key(self) -> Path:
        return self.path.with_suffix(".both")


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs for as long as ``folder`` stands."""

    folder: Path
    certificate: Certificate

    @classmethod
    def create(cls, folder: Path) -> Self:
        folder.mkdir()
        ca = Certificate(folder / "ca.pem")
        _openssl("req", "-x509", *_key(ca), "-out", str(ca.path), "-subj", "/CN=Authority of the tests", "-days", "2")
        return cls(folder, ca)

    def sign(self, host: str, *, days: int = 2) -> Certificate:
        """A certificate for ``host``; one that has run out when ``days`` is negative."""
        signed = Certificate(self.folder / f"{host}{days}.pem")
        request, names = signed.path.with_suffix(".csr"), signed.path.with_suffix(".ext")
        names.write_text(f"subjectAltName=DNS:{host}\n")
        _openssl("req", *_key(signed), "-out", str(request), "-subj", f"/CN={host}")
        ca = ("-CA", str(self.certificate.path), "-CAkey", str(self.certificate.key), "-CAcreateserial")
        files = ("-in", str(request), "-out", str(signed.path), "-extfile", str(names))
        _openssl("x509", "-req", *ca, *files, "-days", str(days))
        signed.with_key.write_text(signed.key.read_text() + signed.path.read_text())
        return signed


def _key(certificate: Certificate) -> tuple[str, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(certificate.key))


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
