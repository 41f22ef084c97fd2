"""Makes exchange_cases.json: small networks of PyTorch, Keras and scikit-learn, with their outputs.

    KERAS_BACKEND=torch python tests/exchange_fixtures.py

It needs torch, onnxscript, keras, scikit-learn, skl2onnx, onnx and onnxruntime; the tests read what
it wrote.
"""

import base64
import contextlib
import io
import json
import tempfile
import warnings
from pathlib import Path

import numpy as np

ACTIVATIONS = ("ReLU", "Tanh", "Sigmoid", "LeakyReLU", "GELU", "GELU tanh", "SiLU")


def listed(x):
    return np.asarray(x).tolist()


def case(**fields):
    """A case; the arrays X and Y have samples as rows."""
    return {key: listed(v) if isinstance(v, np.ndarray) else v for key, v in fields.items()}


def torch_network(torch, name, dtype):
    kind, _, form = name.partition(" ")
    act = getattr(torch.nn, kind)
    act = act(approximate=form) if form else act(0.15) if kind == "LeakyReLU" else act()
    layers = [torch.nn.Linear(4, 5), torch.nn.BatchNorm1d(5), act, torch.nn.Dropout(0.2)]
    layers += [torch.nn.Linear(5, 4, bias=False), act, torch.nn.Linear(4, 3), torch.nn.Softmax(1)]
    net = torch.nn.Sequential(*layers).to(dtype)
    net(torch.randn(50, 4, dtype=dtype) * 2)
    return net.eval()


def torch_cases(arrays, onnx):
    import torch

    torch.manual_seed(0)
    x = torch.randn(6, 4)
    for name in ACTIVATIONS:
        net = torch_network(torch, name, torch.float32)
        Y = net(x).detach().numpy()
        if name in ("ReLU", "GELU tanh"):
            activations = [None, name.split()[0].lower(), name.split()[0].lower(), "softmax"]
            state = {k: listed(v) for k, v in net.state_dict().items()}
            if name == "ReLU":
                arrays.append(
                    case(layout="torch", weights=state, activations=activations, X=x.numpy(), Y=Y)
                )
        for new in (False, True) if name in ("ReLU", "GELU", "SiLU") else (new_form(name),):
            more = {"dynamo": True, "external_data": False} if new else {"dynamo": False}
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "net.onnx"
                torch.onnx.export(net, (x,), str(path), **more)
                content = path.read_bytes()
            modules = [name.split()[0]] * 2
            onnx.append(stored(f"torch {'new' if new else 'old'} {name}", content, modules, x, Y))


def new_form(name):
    return name in ("Tanh", "GELU tanh")


def stored(name, content, activations, X, Y):
    text = base64.b64encode(stripped(content)).decode()
    X, Y = np.asarray(X), np.asarray(Y)
    return case(name=name, file=text, activations=activations, X=X, Y=Y, dtype=X.dtype.name)


def stripped(content):
    """The model without notes, which name files of the machine that made it."""
    import onnx

    model = onnx.ModelProto.FromString(content)
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.value_info[:]
    return model.SerializeToString()


def keras_cases(arrays, onnx):
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    for name in ("relu", "gelu", "silu"):
        parts = [keras.Input((4,)), layers.Normalization(mean=[1.0] * 4, variance=[2.0] * 4)]
        parts += [layers.Dense(5, activation=name), layers.BatchNormalization()]
        net = keras.Sequential([*parts, layers.Dense(3, activation="softmax")])
        for weight in net.weights:
            if "moving" in weight.path:
                weight.assign(np.random.default_rng(1).uniform(0.5, 1.5, weight.shape))
        Y = net.predict(X, verbose=0)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.onnx"
            net.export(str(path), format="onnx", verbose=False)
            kind = {"relu": "ReLU", "gelu": "GELU", "silu": "SiLU"}[name]
            onnx.append(stored(f"keras {name}", path.read_bytes(), [kind], X, Y))
    inner = keras.Sequential([keras.Input((4,)), *net.layers[1:]])
    arrays.append(
        case(
            layout="keras",
            weights=[listed(w) for w in inner.get_weights()],
            activations=["silu", None, "softmax"],
            X=X,
            Y=inner.predict(X, verbose=0),
        )
    )


def sklearn_cases(arrays, onnx):
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    y = X[:, :3].argmax(axis=1)
    settings = {"hidden_layer_sizes": (5,), "max_iter": 30, "random_state": 0}
    made = {
        "three classes": MLPClassifier(activation="tanh", **settings).fit(X, y),
        "two classes": MLPClassifier(activation="logistic", **settings).fit(X, y > 0),
        "numbers": MLPRegressor(activation="relu", **settings).fit(X, X[:, :2]),
        "scaled": make_pipeline(StandardScaler(), MLPClassifier(**settings)).fit(X, y),
    }
    kinds = {"three classes": "Tanh", "two classes": "Sigmoid", "numbers": "ReLU", "scaled": "ReLU"}
    for name, model in made.items():
        Y = model.predict(X[:6]) if name == "numbers" else model.predict_proba(X[:6])
        content = to_onnx(model, X[:1]).SerializeToString()
        onnx.append(stored(f"sklearn {name}", content, [kinds[name]], X[:6], Y))
        if name == "scaled":
            continue
        Y = Y[:, 1:] if name == "two classes" else Y
        arrays.append(
            case(
                layout="sklearn",
                weights=[[listed(w) for w in part] for part in (model.coefs_, model.intercepts_)],
                activations=[model.activation, model.out_activation_],
                X=X[:6],
                Y=Y,
            )
        )


def main():
    warnings.simplefilter("ignore")
    found = {"arrays": [], "onnx": []}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for make in (torch_cases, keras_cases, sklearn_cases):
            make(found["arrays"], found["onnx"])
    path = Path(__file__).with_name("exchange_cases.json")
    lines = ",\n".join(
        f' "{kind}": [\n' + ",\n".join(json.dumps(c) for c in cases) + "\n ]"
        for kind, cases in found.items()
    )
    path.write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
