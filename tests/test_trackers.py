"""Losses reach Weights & Biases and MLflow, offline, where these are installed."""

import numpy as np
import pytest

import keras_faces as kf


@pytest.fixture
def fit():
    model = kf.create_model("dcgan", image_size=32, channels=1, filters=2)
    model.compile()
    faces = np.random.default_rng(0).uniform(-1, 1, (8, 32, 32, 1)).astype(np.float32)

    def run(callback):
        history = model.fit(faces, batch_size=8, epochs=1, verbose=0, callbacks=[callback])
        return {name: values[-1] for name, values in history.history.items()}

    return run


def test_weights_and_biases_gets_every_loss(fit, tmp_path):
    wandb = pytest.importorskip("wandb")
    from wandb.integration.keras import WandbMetricsLogger

    with wandb.init(dir=tmp_path, mode="offline") as run:
        logs = fit(WandbMetricsLogger())
        told = dict(run.summary)
    for name, value in logs.items():
        assert told[f"epoch/{name}"] == pytest.approx(value)


def test_mlflow_gets_every_loss(fit, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    with mlflow.start_run() as run:
        logs = fit(mlflow.keras.MlflowCallback(run))
    told = mlflow.get_run(run.info.run_id).data.metrics
    for name, value in logs.items():
        assert told[name] == pytest.approx(value)
