# The image of `sekisho webhook` and `sekisho controller`: the package and its locked dependencies in one virtual environment. Its size is
# the base image's and 186 MB, compressed 38 MB, of which the Kubernetes client has 77 MB.
# With the registry that your cluster pulls from, and the chart's version as the tag:
#   docker build -t registry.example.com/sekisho:0.2.0 .
#   docker push registry.example.com/sekisho:0.2.0
# tests/unit/test_dockerfile.py executes these steps, so keep them to FROM, WORKDIR, COPY, RUN and absolute target paths.

# The tests run on this version. To pin the image: --build-arg PYTHON_IMAGE=python@sha256:DIGEST
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
# The locks are complete. Without --no-deps, pip does not take a locked version for one that is required with an extra.
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN python3 -m venv /opt/build && \
    python3 -m venv --without-pip /opt/sekisho && \
    /opt/build/bin/python -m pip install --no-cache-dir \
        --only-binary :all: --no-deps --require-hashes --requirement requirements/build.txt && \
    /opt/build/bin/python -m pip --python /opt/sekisho/bin/python install --no-cache-dir --no-compile \
        --only-binary :all: --no-deps --require-hashes --requirement requirements/runtime.txt
# The layers above change with the locks only.
COPY pyproject.toml README.md LICENSE ./
COPY controller controller
# Compiled here, as nothing can be written at run time; unchecked, as copying may change the times of files. Of the Kubernetes
# client's 1,800 models and APIs hardly any are imported, and most of the time would be theirs.
RUN /opt/build/bin/python -m pip wheel --no-cache-dir --no-build-isolation --no-deps --no-index --wheel-dir /opt/wheels . && \
    /opt/build/bin/python -m pip --python /opt/sekisho/bin/python install --no-cache-dir --no-compile --no-deps --no-index \
        /opt/wheels/*.whl && \
    /opt/sekisho/bin/python -m compileall -q --invalidation-mode unchecked-hash \
        -x 'kubernetes/(aio/)?client/(api|models)/[a-z]' /opt/sekisho/lib

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Sekisho" \
      org.opencontainers.image.description="A Kubernetes admission controller that denies pods that break a policy and applies safe defaults to the others" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/sekisho /opt/sekisho
# Not every runtime sets HOME for a user without a name, and the Kubernetes client does not start without it.
ENV PATH=/opt/sekisho/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/ \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /
USER 10001:10001
ENTRYPOINT ["sekisho"]
CMD ["--help"]
