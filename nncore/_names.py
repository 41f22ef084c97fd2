"""Answers to names that people try first: other libraries' words, and misspellings.

`answering` makes a function reply to an argument that it does not have with the one that is meant.
The tables below are the only place that knows such words.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

# Arguments, and what other libraries and hurried people call them.
_SYNONYMS = {
    "lrate": "lr learning_rate learning_rate_init eta eta0 step_size rate",
    "epochs": "epoch n_epochs num_epochs nb_epoch max_epochs iters iterations n_iter max_iter "
    "steps",
    "iters": "epochs epoch n_epochs iterations n_iter max_iter num_iters steps n_steps",
    "batch_size": "batch batchsize bs minibatch minibatch_size mini_batch_size k",
    "K": "batch batchsize batch_size bs minibatch_size mini_batch_size",
    "optimizer": "optimiser optim solver opt algorithm updater",
    "l2": "weight_decay l2_penalty l2_reg regularization regularisation penalty alpha lam lambda_ "
    "lmbda kernel_regularizer",
    "validation": "validation_data validation_split validation_fraction val val_data valid "
    "eval_set test_data",
    "callbacks": "callback hooks",
    "progress": "verbose verbosity disp show_progress progress_bar",
    "notif_each": "every verbose progress print_every log_every",
    "seed": "random_state random_seed rng key",
    "rng": "seed random_state generator random_seed",
    "shuffle": "shuffled permute",
    "reduction": "reduce average size_average",
    "X": "x data inputs input features samples x_train",
    "Y": "y labels target targets label classes y_train t",
    "modules": "layers layer_list module",
    "loss": "criterion loss_fn loss_function objective cost",
    "m": "in_features inputs input_dim input_size n_in num_features n_features features",
    "n": "out_features outputs units output_dim output_size n_out size",
    "init": "initializer initialiser kernel_initializer initialization weight_init",
    "dtype": "type precision",
    "p": "rate prob probability dropout drop_rate drop_prob",
    "slope": "alpha negative_slope leak leakiness",
    "eps": "epsilon tol",
    "beta": "momentum beta1 mu",
    "beta1": "beta_1 b1 momentum",
    "beta2": "beta_2 b2 rho",
    "rho": "alpha decay beta beta2 decay_rate",
    "weight_decay": "decay wd l2",
    "monitor": "metric quantity watch",
    "min_delta": "delta threshold tol",
    "patience": "n_iter_no_change wait rounds",
    "restore_best": "restore_best_weights restore",
    "path": "filepath file filename fname",
    "best_only": "save_best_only only_best",
    "min_lrate": "min_lr min_learning_rate",
    "approximate": "approximation approx tanh",
    "bias": "use_bias with_bias has_bias",
    "clip_value": "clipvalue clip grad_clip",
    "clip_norm": "clipnorm max_norm max_grad_norm gradient_clip gradient_clip_norm global_clipnorm",
    "class_weight": "class_weights weight pos_weight",
    "sample_weight": "sample_weights weights w",
    "label_smoothing": "smoothing",
    "delta": "threshold",
}
_WORDS = {name: frozenset(words.split()) for name, words in _SYNONYMS.items()}

_AT_FIT = "the step size is an argument of the training: net.fit(X, Y, lrate=...)"
# Words that mean something of another place: {function: {word: what to write}}.
_ELSEWHERE = {
    "fit": {
        "loss": "the loss is the network's: Sequential(modules, loss)",
        "momentum": "write optimizer=nncore.optimizers.Momentum(beta=...)",
        "nesterov": "write optimizer=nncore.optimizers.Nesterov(beta=...)",
        "metrics": "write callbacks=[nncore.callbacks.Metrics(...)]",
        "early_stopping": "write callbacks=[nncore.callbacks.EarlyStopping(...)]",
        "patience": "write callbacks=[nncore.callbacks.EarlyStopping(patience=...)]",
        "dropout": "a network drops out by the module Dropout(p)",
    },
    "Sequential": {
        "optimizer": "the optimizer is an argument of the training: net.fit(X, Y, optimizer=...)",
        "lrate": _AT_FIT,
        "epochs": "the number of epochs is an argument of the training: net.fit(X, Y, epochs=...)",
        "scaling": "the scaling is an attribute: net.scaling = nncore.datasets.fit_scaling(X)",
        "classes": "the classes are an attribute: net.classes = [...]",
        "seed": "nncore.set_seed(...) seeds weights and training; Linear(rng=...) its weights",
    },
    "optimizers": {
        "lrate": _AT_FIT,
        "weight_decay": "write AdamW(weight_decay=...), or net.fit(X, Y, l2=...)",
        "l2": "the penalty is an argument of the training: net.fit(X, Y, l2=...)",
        "betas": "write beta1=..., beta2=...",
        "momentum": "write Momentum(beta=...)",
        "nesterov": "write Nesterov(beta=...)",
        "amsgrad": "there is no such variant",
    },
    "Linear": {
        "activation": "an activation is a module of its own: [Linear(m, n), ReLU()]",
        "input_shape": "write Linear(m, n) with m inputs",
    },
}

_IN_ANY_TRAINING = ("loss", "momentum", "nesterov", "dropout")
for _name in ("partial_fit", "learner"):
    _ELSEWHERE[_name] = {word: _ELSEWHERE["fit"][word] for word in _IN_ANY_TRAINING}
_ELSEWHERE["sgd"] = _ELSEWHERE["mini_gd"] = {
    "loss": _ELSEWHERE["fit"]["loss"],
    "optimizer": "this is plain gradient descent; net.fit(X, Y, optimizer=...) takes one",
    "momentum": "this is plain gradient descent; write net.fit(X, Y, optimizer='momentum')",
    "seed": "it draws from NumPy's global generator, which np.random.seed and nncore.set_seed seed",
}

# The names of losses and modules in other libraries, in lower case without _ - and spaces. The
# aliases in nncore.registry are not repeated.
CLASSES = {
    "NLL": (
        "nllloss",
        "crossentropyloss",
        "categoricalcrossentropy",
        "sparsecategoricalcrossentropy",
        "softmaxcrossentropy",
        "logloss",
    ),
    "BinaryNLL": ("bceloss", "bcewithlogits", "bcewithlogitsloss"),
    "Squared": ("squarederror", "mse", "mseloss", "meansquarederror", "l2", "leastsquares"),
    "Hinge": ("hingeloss",),
    "Absolute": ("absoluteerror", "mae", "l1", "l1loss", "meanabsoluteerror"),
    "Huber": ("huberloss", "smoothl1", "smoothl1loss"),
    "Dropout": ("dropout",),
}


# Classes and functions of other libraries' top level, and where they are here.
_TOP = {
    "Dense": "Linear",
    "Softmax": "SoftMax",
    "BatchNorm1d": "BatchNorm",
    "BatchNormalization": "BatchNorm",
    "Swish": "SiLU",
    "CrossEntropy": "NLL",
    "manual_seed": "set_seed",
    "seed": "set_seed",
    "load_model": "load",
    "optim": "optimizers",
    "optimisers": "optimizers",
    "MLPClassifier": "sklearn.MLPClassifier",
    "MLPRegressor": "sklearn.MLPRegressor",
    "Model": "Sequential",
    "MLP": "Sequential",
}
_INSIDE = {
    "callbacks": "EarlyStopping Metrics ModelCheckpoint ReduceOnPlateau",
    "datasets": "load_csv load_digits load_idx load_npz one_hot",
    "optimizers": "SGD Momentum Nesterov Adagrad RMSprop Adam AdamW",
    "schedules": "Constant Cosine InverseTime Power Step",
}


def missing(name: str, names: Iterable[str]) -> str:
    """Return the sentence about a name that nncore does not have at its top level."""
    inside = {word: f"{part}.{word}" for part, words in _INSIDE.items() for word in words.split()}
    names = list(names)
    losses = {word: cls for cls, words in CLASSES.items() if cls in names for word in words}
    places = {word.lower(): where for word, where in (losses | _TOP | inside).items()}
    known = places.get(squashed(name)) or closest(name, [*names, *places])
    known = None if known is None else places.get(known, known)
    hint = f"; did you mean nncore.{known}?" if known and not name.startswith("_") else ""
    return f"module 'nncore' has no attribute {name!r}{hint}"


def shown(namespace: Mapping[str, Any]) -> list[str]:
    """Return what dir() shows of a public module: its public names, and those with __."""
    return [*namespace["__all__"], *(name for name in namespace if name.startswith("__"))]


def squashed(word: str) -> str:
    """Return a word in lower case without underscores, hyphens and spaces."""
    return word.lower().replace("_", "").replace("-", "").replace(" ", "")


def closest(word: str, names: Iterable[str]) -> str | None:
    """Return the name that is most like a word, whatever its case, or None."""
    import difflib  # takes a millisecond

    by_squashed = {squashed(name): name for name in names}
    found = difflib.get_close_matches(squashed(word), by_squashed, 1, 0.6)
    return by_squashed[found[0]] if found else None


def list_meant(word: str, history: Iterable[str]) -> str | None:
    """Return the list of a history that another library's name, such as val_acc, means, or None."""
    parts = {"val": "validation", "valid": "validation", "acc": "accuracy", "train": ""}
    meant = "_".join(filter(None, (parts.get(part, part) for part in word.lower().split("_"))))
    return meant if meant in history else None


def suggestion(word: str, names: Iterable[str]) -> str:
    """Return "; did you mean 'name'?" with the closest name, or ""."""
    found = closest(word, names)
    return "" if found is None else f"; did you mean {found!r}?"


def call_of(cls: Any) -> str:
    """Return the call that makes an object of a class, with the arguments that it must have."""
    import inspect

    try:
        parameters = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):
        return f"{cls.__name__}(...)"
    needed = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    return f"{cls.__name__}({', '.join(needed)})"


def _synonym(word: str, names: Iterable[str]) -> str | None:
    for name in names:
        if word in _WORDS.get(name, ()) or word.lower() == name.lower():
            return name
    return None


def _place(function: Any) -> tuple[str, str]:
    """Return the name of a function, or of the class that it makes objects of, and of its words in
    _ELSEWHERE.
    """
    *owner, name = function.__qualname__.split(".")
    shown = owner[-1] if name == "__init__" else function.__qualname__
    optimizers = name == "__init__" and function.__module__ == "nncore.optimizers"
    return shown, "optimizers" if optimizers else shown.rpartition(".")[2]


def _advice(place: str, word: str, names: list[str]) -> str:
    """Return what to write for an argument that a function does not have."""
    found = _synonym(word, names)
    for name, advice in _ELSEWHERE.get(place, {}).items():
        if found is None and (word == name or word in _WORDS.get(name, ())):
            return advice
    found = found or closest(word, names)
    return f"did you mean {found}?" if found else f"it takes {', '.join(names) or 'none'}"


def _unknown(function: Any, given: Mapping[str, Any]) -> str | None:
    """Return the sentence about the first argument that a function does not have, or None."""
    import inspect

    parameters = list(inspect.signature(function).parameters.values())[1:]
    names = [p.name for p in parameters]
    for word in given:
        if word not in names:
            shown, place = _place(function)
            return f"{shown}() has no argument {word!r}; {_advice(place, word, names)}"
    return None


def answering(function: F) -> F:
    """Return a method that answers an argument which it does not have by the one that is meant.

    Nothing is looked at before a call fails.
    """
    return answering_with(lambda *_, **__: None)(function)


def answering_with(misplaced: Callable[..., str | None]) -> Callable[[F], F]:
    """Return `answering` for a method with another usual mistake, about which misplaced(*args,
    **kwargs) returns a sentence, or None.
    """

    def decorated(function: F) -> F:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except TypeError as error:
                # raised by this call itself, not by the function's body
                if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                    raise
                sentence = _unknown(function, kwargs) or misplaced(*args, **kwargs)
                if sentence is None:
                    raise
            raise TypeError(sentence)

        return call  # type: ignore[return-value]

    return decorated


def without_unknown(function: F) -> F:
    """Hide **unknown from the signature of a function that refuses unknown arguments by itself."""
    import inspect

    signature = inspect.signature(function)
    known = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    function.__signature__ = signature.replace(parameters=known)  # type: ignore[attr-defined]
    return function


def refuse(function: Callable[..., Any], unknown: Mapping[str, Any]) -> None:
    """Raise TypeError about arguments that a method does not have."""
    raise TypeError(_unknown(function, unknown))
