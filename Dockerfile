# A static binary on nothing but CA certificates: docker build -t wxlogin .
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --bin wxlogin \
        --target "$(rustc -vV | sed -n 's/^host: //p')" --target-dir /build \
    && cp /build/*/release/wxlogin /wxlogin \
    && mkdir /data

FROM gcr.io/distroless/static-debian12:nonroot AS service
COPY --from=build /wxlogin /wxlogin
# The sessions: mount a volume that the user nonroot (65532) can write to.
COPY --from=build --chown=nonroot:nonroot /data /data
WORKDIR /data
VOLUME /data
ENV LISTEN_ADDR=0.0.0.0:3000
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s CMD ["/wxlogin", "healthcheck"]
ENTRYPOINT ["/wxlogin"]
