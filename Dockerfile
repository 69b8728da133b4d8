# dicomcast as a container: a virtual environment with locked dependencies, on a Debian that has Python and no compiler.
#   docker build -t dicomcast .                             what every installation needs, with /metrics
#   docker build -t dicomcast:azure --target azure .        and Azure's identities and stores
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build-core
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python3 -m venv /build && python3 -m venv --without-pip /opt/dicomcast && mkdir /state
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN /build/bin/pip install --require-hashes -r requirements/build.txt \
    && /build/bin/pip --python /opt/dicomcast/bin/python install --no-compile --only-binary :all: --require-hashes \
        -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY dicomcast dicomcast
# Bytecode that is not compared with the times of its sources stays valid in whatever way the layers are copied.
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
    && /build/bin/pip --python /opt/dicomcast/bin/python install --no-compile --no-deps --no-index /wheel/*.whl \
    && /opt/dicomcast/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/dicomcast/lib

FROM build-core AS build-azure
COPY requirements/runtime-azure.txt requirements/
RUN /build/bin/pip --python /opt/dicomcast/bin/python install --no-compile --only-binary :all: --require-hashes \
        -r requirements/runtime-azure.txt \
    && /opt/dicomcast/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/dicomcast/lib

# What both images are: it runs on a read-only root, needs no shell, and writes to the volume alone.
FROM python:${PYTHON}-slim AS base
LABEL org.opencontainers.image.title="dicomcast" \
      org.opencontainers.image.description="Keeps a FHIR server in step with a DICOM archive" \
      org.opencontainers.image.licenses="MIT"
# The number, not a name, lets Kubernetes see that it is not root.
COPY --from=build-core --chown=10001:10001 /state /var/lib/dicomcast
ENV PATH=/opt/dicomcast/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    DICOMCAST_STATE__URL=sqlite:////var/lib/dicomcast/state.db
USER 10001:10001
WORKDIR /var/lib/dicomcast
VOLUME /var/lib/dicomcast
STOPSIGNAL SIGTERM
ENTRYPOINT ["dicomcast"]
CMD ["run"]

FROM base AS azure
COPY --from=build-azure /opt/dicomcast /opt/dicomcast

# The last one is what a build without --target makes.
FROM base AS core
COPY --from=build-core /opt/dicomcast /opt/dicomcast
