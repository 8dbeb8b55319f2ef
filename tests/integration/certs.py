# SPDX-License-Identifier: Apache-2.0
"""Certificates for the tests of TLS, by the openssl program."""
from harness import sh


class Authority:
    def __init__(self, directory, name):
        self.dir, self.name = directory, name
        self.key, self.cert = directory / f'{name}.key', directory / f'{name}.crt'
        sh('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30',
           '-subj', f'/CN={name}', '-addext', 'keyUsage=critical,keyCertSign,cRLSign', '-keyout', self.key,
           '-out', self.cert)

    def issue(self, name, host='node.cleat.test', is_expired=False):
        """(certificate, key) for server and client use."""
        key, request, cert = (self.dir / f'{self.name}-{name}.{x}' for x in ('key', 'csr', 'crt'))
        extensions = self.dir / f'{self.name}-{name}.ext'
        extensions.write_text(f'subjectAltName=DNS:{host},IP:127.0.0.1,IP:::1\nextendedKeyUsage=serverAuth,clientAuth\n'
                              'subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n')
        sh('openssl', 'req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', f'/CN={name}',
           '-keyout', key, '-out', request)
        if is_expired:
            self._sign_for_the_past(request, extensions, cert)
        else:
            sh('openssl', 'x509', '-req', '-in', request, '-CA', self.cert, '-CAkey', self.key, '-CAcreateserial',
               '-extfile', extensions, '-out', cert, '-days', '30')
        return cert, key

    def _sign_for_the_past(self, request, extensions, cert):
        """`openssl x509` of OpenSSL 3.0 takes no dates and that of 3.5 no negative days; `openssl ca` takes dates in both."""
        base = self.dir / f'{self.name}-ca'
        base.mkdir(exist_ok=True)
        (base / 'index').write_text('')
        (base / 'conf').write_text(
            '[ca]\ndefault_ca = x\n[x]\npolicy = p\ndefault_md = sha256\nrand_serial = yes\n'
            f'database = {base}/index\nnew_certs_dir = {base}\n[p]\ncommonName = supplied\n')
        sh('openssl', 'ca', '-batch', '-notext', '-config', base / 'conf', '-cert', self.cert,
           '-keyfile', self.key, '-in', request, '-extfile', extensions, '-startdate', '20200101000000Z',
           '-enddate', '20200102000000Z', '-out', cert)
