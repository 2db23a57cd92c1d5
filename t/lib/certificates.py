"""Certificate authorities and certificates for tests, made by openssl in a scratch directory."""
import os

from harness import replace, run, scratch

CA_CONF = """[ca]
default_ca = it
[it]
dir = {dir}
database = {dir}/index
new_certs_dir = {dir}
serial = {dir}/serial
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
"""
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def openssl(*arguments):
    p = run("openssl", *arguments)
    if p.returncode:
        raise RuntimeError("openssl %s: %s" % (" ".join(arguments), p.stderr))


class Authority:
    """A CA of its own; `pem` is the file that trusts it."""

    def __init__(self, name="ca"):
        self.dir = scratch()
        self.pem = self.dir + "/ca.pem"
        replace(self.dir + "/conf", CA_CONF.format(dir=self.dir))
        replace(self.dir + "/index", "")
        replace(self.dir + "/serial", "01\n")
        openssl("req", "-x509", *KEY, "-subj", "/CN=" + name, "-days", "3650",
                "-keyout", self.dir + "/ca.key", "-out", self.pem)

    def certificate(self, name, alternative, start="20200101000000Z", end="20990101000000Z"):
        """
        `alternative` is like "IP:127.0.0.1,DNS:ldap.example". The path, which has two files
        behind it: .pem and .key.
        """
        path = "%s/%s" % (self.dir, name)
        openssl("req", "-new", *KEY, "-subj", "/CN=" + name,
                *(["-addext", "subjectAltName=" + alternative] if alternative else []),
                "-keyout", path + ".key", "-out", path + ".csr")
        openssl("ca", "-batch", "-notext", "-config", self.dir + "/conf", "-cert", self.pem,
                "-keyfile", self.dir + "/ca.key", "-startdate", start, "-enddate", end,
                "-in", path + ".csr", "-out", path + ".pem")
        for end in ".key", ".pem":
            os.chmod(path + end, 0o644)
        return path
