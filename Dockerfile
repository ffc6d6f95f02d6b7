# The service of examples/service.py, on CPUs; see docs/serving.md.
FROM python:3.11-slim
# The package index that has torch's builds for CPUs; without it, pip takes the one for GPUs.
ARG TORCH_INDEX=""
RUN useradd --create-home service
WORKDIR /app
COPY . .
RUN if [ -n "$TORCH_INDEX" ]; then pip install --no-cache-dir --index-url "$TORCH_INDEX" "torch>=2.1,<2.14"; fi \
    && pip install --no-cache-dir ".[serve]"
USER service
EXPOSE 8000
ENTRYPOINT ["python", "examples/service.py", "--host", "0.0.0.0"]
CMD ["/model/model.scorer"]
