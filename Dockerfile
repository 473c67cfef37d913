# syntax=docker/dockerfile:1
# docker build -t epalm:0.2.0 .      docs/deployment.md describes how to run it.
ARG NODE_IMAGE=node:24-bookworm-slim

# The contents of the npm package (`files` in package.json).
FROM ${NODE_IMAGE} AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . .
RUN npm pack && mkdir /app && tar --extract --gzip --file epalm-*.tgz --directory /app --strip-components 1

# The runtime dependencies for this platform.
FROM ${NODE_IMAGE} AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev
COPY scripts/prune-packages.js ./
RUN node prune-packages.js node_modules

FROM ${NODE_IMAGE}
LABEL org.opencontainers.image.title="epalm" \
      org.opencontainers.image.description="Captions of images, audio and videos, and answers to questions about them, over HTTP" \
      org.opencontainers.image.version="0.2.0" \
      org.opencontainers.image.licenses="Apache-2.0"
# 127.0.0.1 cannot be reached from outside the container.
ENV NODE_ENV=production \
    EPALM_HOST=0.0.0.0
WORKDIR /app
COPY --from=packages /app/node_modules node_modules
COPY --from=build /app ./
# The image's user `node`. Kubernetes can only verify a numeric id as non-root.
USER 1000:1000
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.EPALM_PORT || 8080}/healthz`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "/app/dist/src/cli/main.js"]
CMD ["serve"]
