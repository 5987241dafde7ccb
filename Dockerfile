# The workbench in a container: small, without root, and without any need of a network once it runs.
#   docker build -t corpuscle .
#   docker run --rm -p 127.0.0.1:8000:8000 -e CORPUSCLE_TOKEN -v corpuscle:/store corpuscle
# More in docs/laboratory.md.

FROM python:3.11-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE NOTICE constraints.txt ./
COPY src ./src
RUN python -m venv /opt/corpuscle \
 && /opt/corpuscle/bin/pip install --no-cache-dir --no-compile -c constraints.txt ".[web]" \
 && /opt/corpuscle/bin/pip uninstall --yes pip

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin corpuscle \
 && install -d -o corpuscle -g corpuscle -m 0700 /store
COPY --from=build /opt/corpuscle /opt/corpuscle
ENV PATH=/opt/corpuscle/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OMP_NUM_THREADS=1
USER corpuscle
WORKDIR /store
VOLUME /store
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD \
  ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/v1/health', timeout=4)"]
# A container listens on all its interfaces, so that a token is needed: CORPUSCLE_TOKEN.
ENTRYPOINT ["corpuscle", "serve", "--host", "0.0.0.0", "--port", "8000", "--store", "/store"]
