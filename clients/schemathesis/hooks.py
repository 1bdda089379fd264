"""Media types that schemathesis does not know."""

import schemathesis


@schemathesis.serializer("application/offset+octet-stream")
def bytes_of_an_upload(_context, value):
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.deserializer("audio/mpeg")
def bytes_of_an_output(_context, response):
    return response.content.decode("latin-1")
