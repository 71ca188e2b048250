# A server of one bundle: docs/containers.md. Build with
#   docker build --tag clipn --build-arg CLIPN_COMMIT=$(git rev-parse --short=12 HEAD) .
# and run with
#   docker run --read-only --mount type=bind,src=$PWD/shop.clipn,dst=/data/shop.clipn,ro -p 8080:8080 clipn

FROM rust:1-slim-trixie AS build
# The slim image has the C compiler that the crate `ring` needs.
WORKDIR /source
COPY . .
# What `clipn --version` prints, as the context has no `.git`.
ARG CLIPN_COMMIT=
RUN cargo build --release --locked --package clipn-cli

# The C library and a user without privileges; the program needs nothing else.
FROM debian:trixie-slim
RUN groupadd --gid 65532 clipn \
    && useradd --uid 65532 --gid 65532 --no-create-home --shell /usr/sbin/nologin clipn \
    && install --directory --owner 65532 --group 65532 /cache
COPY --from=build /source/target/release/clipn /usr/local/bin/clipn
COPY LICENSE-APACHE LICENSE-MIT NOTICE /usr/share/doc/clipn/
# Settings of `clipn serve`; sizes may have units, such as 32MiB. Downloads go to HF_HOME, which may be a volume.
ENV CLIPN_BUNDLE=/data/shop.clipn \
    CLIPN_HOST=0.0.0.0 \
    CLIPN_PORT=8080 \
    CLIPN_LOG_FORMAT=json \
    HF_HOME=/cache
WORKDIR /data
EXPOSE 8080
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["clipn", "serve", "--check"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["clipn"]
CMD ["serve"]
