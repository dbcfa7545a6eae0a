"""What schemathesis does not know of itself how to send."""

import schemathesis

# Bytes as they are.
schemathesis.serializer.alias("application/zstd", "application/octet-stream")
