# syntax=docker/dockerfile:1
# A static binary and nothing else. `docker build -t forebay .`, then for one node with
# everything embedded `docker run -p 9092:9092 forebay`; for a cluster on this machine see
# localstack/docker-compose.yml.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=""
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o /out/forebay ./cmd/forebay
RUN mkdir /out/data

# It has certificates, a user that is not root, and no shell.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/forebay /usr/local/bin/forebay
# A volume mounted here belongs to that user.
COPY --from=build --chown=65532:65532 /out/data /var/lib/forebay
USER 65532:65532
ENV FOREBAY_DIR=/var/lib/forebay
ENV FOREBAY_DATA_DIR=/var/lib/forebay
ENV FOREBAY_KAFKA_ADDR=0.0.0.0:9092
ENV FOREBAY_ADMIN_ADDR=0.0.0.0:8080
VOLUME ["/var/lib/forebay"]
EXPOSE 9092 8080
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 CMD ["forebay", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["forebay"]
CMD ["dev", "--advertised-listeners", "PLAINTEXT://localhost:9092"]
