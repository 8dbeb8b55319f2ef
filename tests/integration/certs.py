# SPDX-License-Identifier: Apache-2.0
"""Certificates for the tests of TLS, by the openssl program."""
from harness import sh


class Authority:
    def __init__(self, directory, name):
        self.dir, self.name = directory, name
        self.key, self.cert = directory / f'{name}.key', directory / f'{name}.crt'
        sh('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30',
           '-subj', f'/CN={name}', '-keyout', self.key, '-out', self.cert)

    def issue(self, name, host='node.cleat.test', is_expired=False):
        """(certificate, key) for server and client use."""
        key, request, cert = (self.dir / f'{self.name}-{name}.{x}' for x in ('key', 'csr', 'crt'))
        extensions = self.dir / f'{self.name}-{name}.ext'
        extensions.write_text(f'subjectAltName=DNS:{host},IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n')
        sh('openssl', 'req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', f'/CN={name}',
           '-keyout', key, '-out', request)
        sign = ['openssl', 'x509', '-req', '-in', request, '-CA', self.cert, '-CAkey', self.key, '-CAcreateserial',
                '-extfile', extensions, '-out', cert]
        sh(*sign, '-days', '-1' if is_expired else '30')
        return cert, key
