# SPDX-License-Identifier: Apache-2.0
"""matplotlib's backend in python_cells.py: show() gives the figures to whoever runs the cell."""

from matplotlib.backend_bases import FigureManagerBase as FigureManager  # noqa: F401
from matplotlib.backends.backend_agg import FigureCanvasAgg as FigureCanvas  # noqa: F401

from forkd_interpreter.python_cells import show_figures as show  # noqa: F401
