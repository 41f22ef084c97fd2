"""The notebooks in examples/, run without Jupyter; `nncore check` on notebooks."""

import contextlib
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_check import WRONG_PROGRAM
from test_cli import environment, run  # noqa: F401

from nncore.cli import notebooks

FOLDER = Path(__file__).parent.parent / "examples"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
SAYS = {
    "homework.ipynb": [
        "accuracy 1.00",
        "the step makes the loss smaller: True",
        "likely cause: the square is missing in 1 - A**2",
        "look at: backward, homework.ipynb, cell 4, line 6",
        "Tanh  ok",
        "on the same weights: True",
    ],
    "digits.ipynb": ["test accuracy 0.9", "the same predictions: True"],
    "online.ipynb": ["the learner is right for 0.9", "the frozen copy is right for 0.5"],
}


def executed(path):
    """(what the code cells of a notebook print, their names)"""
    names, printed = {"__name__": "__main__", **notebooks.NAMES}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        for cell in notebooks.cells(path):
            assert not cell.left_out
            exec(compile(cell.source, cell.filename, "exec"), names)
    return printed.getvalue(), names


def test_every_notebook_is_run_here():
    assert NOTEBOOKS == sorted(SAYS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_do_what_they_say(name, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    if name != "homework.ipynb":
        pytest.importorskip("matplotlib")
    state = np.random.get_state()
    printed, names = executed(str(FOLDER / name))
    np.random.set_state(state)
    for words in SAYS[name]:
        assert words in printed, printed
    if "plt" in names:
        names["plt"].close("all")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_are_stored_without_outputs(name):
    notebook = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert max(map(len, "".join(cell["source"]).splitlines())) <= 80
            assert cell["outputs"] == [] and cell["execution_count"] is None


# ------------------------------------------------------------------------------- nncore check FILE


def saved(path, *sources, **more):
    """Write a notebook of these code cells, with a text before them."""
    code = [
        {"cell_type": "code", "source": s, "outputs": [], "metadata": {}, "execution_count": 3}
        for s in sources
    ]
    cells = [{"cell_type": "markdown", "source": ["# A title"], "metadata": {}}, *code]
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5, **more}
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return path


@pytest.fixture
def check(run, tmp_path):  # noqa: F811
    """check(*cells): the finished command on a notebook of these code cells."""

    def start(*sources, arguments=(), **more):
        saved(tmp_path / "hw.ipynb", *sources, **more)
        return run("check", "hw.ipynb", *arguments)

    return start


def test_the_homework_is_checked(run):  # noqa: F811
    done = run("check", FOLDER / "homework.ipynb")
    assert done.returncode == 0 and done.stdout.count("All right.") == 3
    assert "left out" not in done.stderr


def test_mistakes_are_named_by_cell_and_line(check):
    head, rest = WRONG_PROGRAM.split("class Tanh", 1)
    done = check(head, "x = 1", ["class Tanh", rest.partition("if __name__")[0]])
    assert done.returncode == 1 and done.stderr == ""
    assert "the derivative is forgotten" in done.stdout
    assert "look at: backward, hw.ipynb, cell 3, line " in done.stdout
    done = check(head, "class Tanh" + rest, "t = Tanh()", arguments=("--name", "t", "--inputs", 2))
    assert done.returncode == 1 and "hw.ipynb, cell 2, line " in done.stdout


RIGHT = """\
import numpy as np
class Tanh:
    def forward(self, Z):
        self.A = np.tanh(Z)
        return self.A
    def backward(self, dLdA):
        return dLdA * (1 - self.A**2)
    def sgd_step(self, lrate):
        pass
"""


def test_lines_that_only_jupyter_understands(check):
    done = check(
        "!pip install nncore \\\n   --quiet\n%matplotlib inline\n" + RIGHT,
        "%%bash\nls",
        "%%time\nassert Tanh\nfiles = !ls\nassert files == []\n"
        "if True:\n    %time y = 1 + 1\n    !ls\nassert y == 2\n"
        "text = ('%d'\n   % 3)\nassert text == '3'\nmore = '''\n%kept\n!kept'''\n"
        "assert more == '\\n%kept\\n!kept'\nTanh?\n?Tanh\n"
        "get_ipython().run_line_magic('load_ext', 'autoreload')\ndisplay(y)",
    )
    assert (done.returncode, done.stdout) == (0, "Tanh  ok\n"), done.stderr
    assert done.stderr.splitlines() == [
        "nncore: note: hw.ipynb: 9 lines for Jupyter alone are left out, the first in cell 1, "
        "line 1: !pip install nncore \\",
        "2",
    ]


def test_a_cell_that_fails(check):
    done = check(RIGHT, "\nassert False, 'a test of mine'", "open('not reached', 'w')")
    assert (done.returncode, done.stdout) == (0, "Tanh  ok\n")
    assert done.stderr == (
        "nncore: note: hw.ipynb must run to its end to be checked, got AssertionError: a test of "
        "mine at hw.ipynb, cell 2, line 2: assert False, 'a test of mine'; what the cells before "
        "it define is checked\n"
    )
    done = check("x = 1", "\n\ny = z")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "nncore: hw.ipynb must run to its end to be checked, got NameError: name 'z' is not "
        "defined at hw.ipynb, cell 2, line 3: y = z\n"
    )
    done = check("x = 1", "y = = 2")
    assert "got SyntaxError: invalid syntax, hw.ipynb, cell 2, line 1" in done.stderr
    done = check(RIGHT, "exit()", "open('not reached', 'w')")
    assert (done.returncode, done.stdout) == (0, "Tanh  ok\n")
    assert done.stderr == (
        "nncore: note: hw.ipynb exits in cell 2; the cells after it are not checked\n"
    )


def test_modules_of_jupyter_and_colab_need_not_be_installed(check, tmp_path):
    """Their functions do nothing then. Those that are found are used."""
    (tmp_path / "IPython").mkdir()
    (tmp_path / "IPython" / "__init__.py").write_text("")
    (tmp_path / "IPython" / "display.py").write_text("def HTML(text): return 'shown ' + text")
    done = check(
        "from google.colab import drive, files, output\ndrive.mount('/content/drive')\n"
        "import google.colab\ngoogle.colab.files.upload()\n"
        "from IPython.display import HTML\nassert HTML('x') == 'shown x'",
        RIGHT,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Tanh  ok\n", "")
    shutil.rmtree(tmp_path / "IPython")
    done = check(
        "from IPython.display import HTML, clear_output\nfrom IPython import get_ipython\n"
        "HTML('x')\nclear_output()\nget_ipython().run_line_magic('matplotlib', 'inline')",
        RIGHT,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Tanh  ok\n", "")
    pytest.importorskip("matplotlib")
    done = check(
        "import IPython\nimport matplotlib.pyplot as plt\nplt.subplots()\nplt.show()", RIGHT
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Tanh  ok\n", "")
    done = check("import google.no_such_module", RIGHT)
    assert done.returncode == 2 and "No module named 'google.no_such_module'" in done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "must be a Jupyter notebook of format 4, got JSON without a notebook's cells"),
        ("[1]", "must be a Jupyter notebook of format 4, got JSON without"),
        ('{"worksheets": []}', "of format 4, got format 3 or older; open it in Jupyter and save"),
        ('{"cells": [{"cell_type": "code", "source": 3}]}', "must be a Jupyter notebook"),
        ("[" * 5000, "must be a Jupyter notebook of format 4, got a file that is not JSON"),
        ("\xff", "must be a Jupyter notebook of format 4, got a file that is not JSON"),
        (" \n", "must be a Jupyter notebook of format 4, got an empty file"),
        ('{"cells": [], "metadata": {"kernelspec": {"language": "R"}}}', "in Python, got one in r"),
        ('{"cells": []}', "must keep a network in a variable, or define classes"),
    ],
)
def test_files_that_are_no_notebooks(content, message, run, tmp_path):  # noqa: F811
    (tmp_path / "hw.ipynb").write_bytes(content.encode("latin-1"))
    done = run("check", "hw.ipynb")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("nncore: hw.ipynb") and message in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_lines_of_a_program_stay(tmp_path):
    """A program without Jupyter's lines is not changed, whatever % and ! it holds."""
    sources = [
        "x = 7 % 4\ny = f'{x!r}'\n",
        '"""\n%time\n!ls\n"""\n',
        "a = [1,\n2]\nb = (a\n!= [])\n",
    ]
    path = saved(tmp_path / "n.ipynb", *sources)
    for cell, source in zip(notebooks.cells(str(path)), sources, strict=True):
        assert cell.source == source and cell.left_out == []
    assert os.path.isabs(notebooks.cells(str(path))[0].filename)
