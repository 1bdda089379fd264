"""A mail server for tests: TLS, STARTTLS or neither, with a log-in if one is given.

It takes mails, reads them as a mail program would, and writes what it read as JSON, a file each. What it
does with a mail is in the recipient's name: refused@, unwanted@ (when it has read it), busy@ (once), slow@,
held@ (taken at once, and told so only late, once). Mails from nobody@ it does not take.
"""

import argparse
import asyncio
import json
import ssl
import sys
from email import message_from_bytes, policy
from pathlib import Path

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


class Mailbox:
    def __init__(self, folder):
        self.folder = folder
        self.count = 0
        self.turned_away = set()

    async def handle_MAIL(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "553 5.1.8 there is no such sender"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        name = address.split("@")[0]
        if name == "refused":
            return "550 5.1.1 there is nobody of that name"
        if name == "busy" and address not in self.turned_away:
            self.turned_away.add(address)
            return "451 4.7.1 come back later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if any(address.startswith("slow@") for address in envelope.rcpt_tos):
            await asyncio.sleep(3)
        if any(address.startswith("unwanted@") for address in envelope.rcpt_tos):
            return "554 5.6.0 nobody wants that"
        mail = message_from_bytes(envelope.content, policy=policy.default)
        text, html = mail.get_body(("plain",)), mail.get_body(("html",))
        read = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "is_tls": server.transport.get_extra_info("ssl_object") is not None,
            "is_authenticated": bool(session.authenticated),
            "headers": [[name, str(value)] for name, value in mail.items()],
            "defects": [repr(defect) for part in mail.walk() for defect in part.defects],
            "parts": [part.get_content_type() for part in mail.walk()],
            "text": text and text.get_content(),
            "html": html and html.get_content(),
        }
        self.count += 1
        file = self.folder / f"{self.count}.json"
        file.with_suffix(".part").write_text(json.dumps(read))
        file.with_suffix(".part").rename(file)
        held = {address for address in envelope.rcpt_tos if address.startswith("held@")}
        if held - self.turned_away:
            self.turned_away |= held
            await asyncio.sleep(2.5)
        return "250 taken"


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--folder", type=Path, required=True)
    options.add_argument("--tls", choices=["none", "starttls", "tls"], required=True)
    options.add_argument("--certificate")
    options.add_argument("--key")
    options.add_argument("--name")
    options.add_argument("--password")
    options = options.parse_args()

    def authenticate(server, session, envelope, mechanism, data):
        is_it = isinstance(data, LoginPassword) and (data.login, data.password) == (
            options.name.encode(),
            options.password.encode(),
        )
        return AuthResult(success=is_it, handled=False)

    mailbox = Mailbox(options.folder)
    mailbox.count = len(list(options.folder.glob("*.json")))
    context = None
    if options.tls != "none":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options.certificate, options.key)
    settings = {"hostname": "localhost"}
    if options.name:
        settings |= {"auth_required": True, "authenticator": authenticate}
        settings |= {"auth_require_tls": options.tls == "starttls"}
    if options.tls == "starttls":
        settings |= {"tls_context": context, "require_starttls": True}

    async def serve():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: SMTP(mailbox, loop=loop, **settings),
            "127.0.0.1",
            options.port,
            ssl=context if options.tls == "tls" else None,
        )
        print(f"takes mails on port {options.port}", flush=True)
        await server.serve_forever()

    asyncio.run(serve())


if __name__ == "__main__":
    sys.exit(main())
