# Rust where no registry can be reached: docker/make-base-images sends the machine's toolchain as context.
ARG DEBIAN_IMAGE
FROM ${DEBIAN_IMAGE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
# The machine may reach its packages through somebody whom only it has reason to trust.
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# Among the system's own programs, so that it needs no variables.
COPY bin /usr/local/bin
COPY lib /usr/local/lib
RUN ldconfig && cargo --version
