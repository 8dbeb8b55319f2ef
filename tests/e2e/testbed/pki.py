# SPDX-License-Identifier: Apache-2.0
"""Certificates of a test cluster: one authority, one pair for each component.

Elliptic curve keys, so that all of them take well under a second; openssl's
command, so that the test needs no further library.
"""
import base64
import subprocess


def openssl(*args, cwd, stdin=None):
    subprocess.run(("openssl",) + args, cwd=cwd, input=stdin, text=True, check=True,
                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def new_key(folder, name):
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", name + ".key", cwd=folder)
    (folder / (name + ".key")).chmod(0o600)


def make_authority(folder):
    new_key(folder, "ca")
    openssl("req", "-x509", "-new", "-key", "ca.key", "-subj", "/CN=cleat-testbed", "-days", "7",
            "-out", "ca.crt", cwd=folder)


def issue(folder, name, common_name, organization=None, alternative_names=()):
    """Makes NAME.key and NAME.crt, good as client and as server."""
    subject = (f"/O={organization}" if organization else "") + f"/CN={common_name}"
    extensions = ["keyUsage=digitalSignature", "extendedKeyUsage=serverAuth,clientAuth"]
    if alternative_names:
        extensions.append("subjectAltName=" + ",".join(alternative_names))
    (folder / (name + ".ext")).write_text("\n".join(extensions) + "\n")
    new_key(folder, name)
    openssl("req", "-new", "-key", name + ".key", "-subj", subject, "-out", name + ".csr", cwd=folder)
    openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "7", "-extfile", name + ".ext", "-out", name + ".crt", cwd=folder)


def make_signing_pair(folder, name):
    """A key pair without a certificate, for service account tokens."""
    new_key(folder, name)
    openssl("ec", "-in", name + ".key", "-pubout", "-out", name + ".pub", cwd=folder)


def kubeconfig(folder, name, server):
    """The text of a kubeconfig that acts as NAME; it needs no other file."""
    def data(file):
        return base64.b64encode((folder / file).read_bytes()).decode()
    return f"""apiVersion: v1
kind: Config
clusters:
- name: testbed
  cluster: {{server: "{server}", certificate-authority-data: {data("ca.crt")}}}
users:
- name: {name}
  user: {{client-certificate-data: {data(name + ".crt")}, client-key-data: {data(name + ".key")}}}
contexts:
- name: testbed
  context: {{cluster: testbed, user: {name}}}
current-context: testbed
"""
