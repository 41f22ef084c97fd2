"""The command `nncore run`: run a Python program with nncore in the place of another library."""

import runpy
import sys
import traceback

OWN = (__file__, runpy.__file__, "<frozen runpy>")

HELP = """\
Run SCRIPT as python would, with nncore's classes in the place of others; arguments after SCRIPT are
the program's.

--sklearn: sklearn.neural_network's MLPClassifier and MLPRegressor are nncore.sklearn's. No file is
changed, and other processes are not affected.
"""


def add_options(parser):
    """Add the arguments of `nncore run`."""
    parser.set_defaults(run=run)
    parser.add_argument(
        "--sklearn", action="store_true", required=True, help="replace scikit-learn's MLPs"
    )
    parser.add_argument("-m", dest="module", action="store_true", help="SCRIPT is a module's name")
    parser.add_argument("script", metavar="SCRIPT", help="the program")
    parser.add_argument("arguments", metavar="ARGUMENT", nargs="...", help="the program's own")


def run(options):
    """Run the program; returns its exit status, 1 if it ended in an error."""
    try:
        from nncore import sklearn

        sklearn.patch()
    except (ImportError, RuntimeError) as error:
        raise ValueError(str(error)) from None
    sys.argv = [options.script, *options.arguments]
    try:
        if options.module:
            runpy.run_module(options.script, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(options.script, run_name="__main__")
    except KeyboardInterrupt:
        raise
    except Exception as failure:
        # As python shows it, but for the lines of this file and runpy.
        trace = failure.__traceback__
        while trace and trace.tb_frame.f_code.co_filename in OWN:
            trace = trace.tb_next
        traceback.print_exception(type(failure), failure, trace)
        return 1
    return 0
