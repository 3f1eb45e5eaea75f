# syntax=docker/dockerfile:1
# The two images:
#
#   docker build --target broker   -t cmq-broker:0.1.0 .
#   docker build --target operator -t cmq-operator:0.1.0 .
#
# Both bases can be others, such as mirrors; the second needs the C library and certificates, nothing else.
ARG RUST_IMAGE=docker.io/library/rust:1.95-bookworm
ARG BASE_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST_IMAGE} AS source
WORKDIR /src
COPY . .
# Each program is built by itself: a build of the whole workspace would switch on what tests need.
ENV CARGO_INCREMENTAL=0

FROM source AS build-broker
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target,id=target-broker \
    cargo build --locked --release -p cmq-broker && install -D target/release/cmq-broker /out/cmq-broker

FROM source AS build-operator
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target,id=target-operator \
    cargo build --locked --release -p cmq-operator && install -D target/release/cmq-operator /out/cmq-operator

FROM ${BASE_IMAGE} AS operator
LABEL org.opencontainers.image.title="cmq-operator" \
      org.opencontainers.image.description="Operator of CMQ brokers and queues" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build-operator /out/cmq-operator /usr/local/bin/cmq-operator
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/cmq-operator"]

FROM ${BASE_IMAGE} AS broker
LABEL org.opencontainers.image.title="cmq-broker" \
      org.opencontainers.image.description="A message queue that speaks the protocol of Tencent Cloud's CMQ" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build-broker /out/cmq-broker /usr/local/bin/cmq-broker
USER 65532:65532
EXPOSE 9324 9325 9326
ENTRYPOINT ["/usr/local/bin/cmq-broker"]
