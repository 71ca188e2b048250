# A server of one bundle: docs/containers.md. Build with
#   docker build --tag clipn .
# and run with
#   docker run --read-only --mount type=bind,src=$PWD/shop.clipn,dst=/data/shop.clipn,ro -p 8080:8080 clipn

FROM rust:1-slim-trixie AS build
# The slim image has the C compiler that the crate `ring` needs.
WORKDIR /source
COPY . .
RUN cargo build --release --locked --package clipn-cli

# The C library and a user without privileges; the program needs nothing else.
FROM debian:trixie-slim
RUN useradd --system --uid 65532 --no-create-home --shell /usr/sbin/nologin clipn
COPY --from=build /source/target/release/clipn /usr/local/bin/clipn
# Every flag of `clipn serve` that a server needs has a variable; sizes may have units, such as 32MiB.
ENV CLIPN_BUNDLE=/data/shop.clipn \
    CLIPN_HOST=0.0.0.0 \
    CLIPN_PORT=8080 \
    CLIPN_LOG_FORMAT=json
WORKDIR /data
EXPOSE 8080
USER 65532
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["clipn", "serve", "--check"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["clipn"]
CMD ["serve"]
