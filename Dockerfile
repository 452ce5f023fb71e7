# Static binaries on nothing but CA certificates:
#
#   docker build -t wxlogin .
#   docker build -t wxlogin-sandbox --target sandbox .
#
# Where Docker Hub or crates.io cannot be reached, name mirrors of them:
#
#   --build-arg BUILDER=registry.example.com/library/rust:1-bookworm
#   --build-arg CRATES_MIRROR=sparse+https://crates.example.com/index/
ARG BUILDER=rust:1-bookworm

FROM ${BUILDER} AS source
ARG CRATES_MIRROR
RUN if [ -n "$CRATES_MIRROR" ]; then \
        printf '[source.crates-io]\nreplace-with = "mirror"\n[source.mirror]\nregistry = "%s"\n' \
            "$CRATES_MIRROR" >> "${CARGO_HOME:-$HOME/.cargo}/config.toml"; \
    fi
WORKDIR /src
COPY . .
ENV RUSTFLAGS="-C target-feature=+crt-static"

FROM source AS build-sandbox
RUN CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo build --release --locked --no-default-features --features server --example sandbox \
        --target "$(rustc -vV | sed -n 's/^host: //p')" --target-dir /build \
    && cp /build/*/release/examples/sandbox /sandbox

FROM source AS build-service
RUN cargo build --release --locked --bin wxlogin \
        --target "$(rustc -vV | sed -n 's/^host: //p')" --target-dir /build \
    && cp /build/*/release/wxlogin /wxlogin \
    && mkdir /data

FROM scratch AS sandbox
COPY --from=build-sandbox /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build-sandbox /sandbox /sandbox
USER 65532:65532
EXPOSE 3000 3001 9090
ENTRYPOINT ["/sandbox", "--container"]

FROM scratch AS service
COPY --from=build-service /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build-service /wxlogin /wxlogin
# The sessions: mount a volume that the user 65532 can write to.
COPY --from=build-service --chown=65532:65532 /data /data
USER 65532:65532
WORKDIR /data
VOLUME /data
ENV LISTEN_ADDR=0.0.0.0:3000
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s CMD ["/wxlogin", "healthcheck"]
ENTRYPOINT ["/wxlogin"]
