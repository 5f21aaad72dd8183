# SPDX-License-Identifier: Apache-2.0
"""What a result has beside its text and its pictures: the values of a data frame, and what a chart shows.

Used by both Python kernels, in their own process. Neither pandas nor matplotlib is imported: an object of theirs is
there only when somebody has done so.
"""

import datetime
import math
import numbers
import re
import sys

DATA = "application/vnd.forkd.data+json"
CHART = "application/vnd.forkd.chart+json"

MOST_VALUES = 1_000_000  # of a frame or a chart; what is larger has its text and its picture only
MOST_BYTES = 32 << 20  # of one representation


def plain(value):
    """The value in JSON's terms: what JSON cannot say is text, and what is no number is null."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (datetime.date, datetime.time)):
        return None if value != value else value.isoformat()  # pandas.NaT is a datetime
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return plain(value.item())  # numpy's scalars
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    return str(value)


def data(value):
    """The columns of a pandas.DataFrame, None of anything else."""
    pandas = sys.modules.get("pandas")
    if not pandas or not isinstance(value, getattr(pandas, "DataFrame", ())) or value.size > MOST_VALUES:
        return None
    try:
        return {str(name): plain(value.iloc[:, at].tolist()) for at, name in enumerate(value.columns)}
    except Exception:
        return None  # an extension type of somebody's: its text is there


def chart(value):
    """What a matplotlib Figure shows, None of anything else."""
    module = sys.modules.get("matplotlib.figure")
    if not module or not isinstance(value, getattr(module, "Figure", ())):
        return None
    try:
        axes = value.get_axes()
        if len(axes) == 1:
            return plain(_of_axes(axes[0]))
        title = value.get_suptitle() if hasattr(value, "get_suptitle") else getattr(value._suptitle, "_text", "")
        return (
            plain({"type": "superchart", "title": title or None, "elements": list(map(_of_axes, axes))})
            if axes
            else None
        )
    except Exception:
        return None  # an artist of somebody's: its picture is there


def limited(bundle):
    """As it can be sent: without representations that are too large, and the text cut."""
    kept = {}
    for kind, content in bundle.items():
        if isinstance(content, (str, bytes)) and len(content) > MOST_BYTES:
            if kind != "text/plain":
                continue
            content = content[:MOST_BYTES] + "..."
        kept[kind] = content if isinstance(content, (str, bytes)) else plain(content)
    return kept


def _of_axes(ax):
    from matplotlib import collections, container, patches

    kind, elements, swapped = "unknown", [], False
    bars = [one for one in ax.containers if isinstance(one, container.BarContainer)]
    boxes = None
    if ax.patches and all(isinstance(one, patches.Wedge) for one in ax.patches):
        wedges = [(w.get_label(), abs(round(w.theta2 - w.theta1, 4)), w.r) for w in ax.patches]
        elements = [{"label": label, "angle": angle, "radius": radius} for label, angle, radius in wedges]
        return {"type": "pie", "title": ax.get_title() or None, "elements": elements}
    if bars and len(ax.patches) == sum(len(one.patches) for one in bars):
        kind = "bar"
        swapped = all(getattr(one, "orientation", "vertical") == "horizontal" for one in bars)
        elements = [element for one in bars for element in _bars(ax.yaxis if swapped else ax.xaxis, one, swapped)]
    elif not ax.collections and (boxes := _boxes(ax)):
        kind, (swapped, elements) = "box_and_whisker", boxes
    elif ax.lines and not ax.patches and not ax.collections:
        kind = "line"
        elements = [_points(ax, line.get_label(), line.get_xydata()) for line in ax.lines]
    elif ax.collections and not ax.patches and not ax.lines:
        if all(isinstance(one, collections.PathCollection) for one in ax.collections):
            kind = "scatter"
            elements = [_points(ax, one.get_label(), one.get_offsets()) for one in ax.collections]
    found = {"type": kind, "title": ax.get_title() or None, "elements": elements}
    if kind == "unknown":
        return found
    # The first of them is what is compared, the other one its value, however the chart lies.
    for name, axis in zip("xy", (ax.yaxis, ax.xaxis) if swapped else (ax.xaxis, ax.yaxis)):
        label = axis.get_label_text() or None
        unit = re.search(r"\((.*?)\)|\[(.*?)\]", label or "")
        found.update({f"{name}_label": label, f"{name}_unit": (unit and (unit[1] or unit[2])) or None})
        if kind in ("line", "scatter"):
            ticks = axis.get_majorticklocs()
            labels = list(map(str, axis.get_major_formatter().format_ticks(ticks)))
            found.update(
                {f"{name}_ticks": _values(axis, ticks), f"{name}_tick_labels": labels, f"{name}_scale": _scale(axis)}
            )
    return found


def _scale(axis):
    converter = axis.get_converter() if hasattr(axis, "get_converter") else axis.converter
    name = type(converter).__name__
    if "Category" in name:
        return "categorical"
    return "datetime" if "Date" in name else axis.get_scale()


def _values(axis, positions):
    """What is at these positions: matplotlib counts days for times, and categories from 0."""
    scale = _scale(axis)
    if scale == "datetime":
        from matplotlib.dates import num2date

        return [num2date(one).isoformat() for one in positions]
    if scale == "categorical":
        names = {at: name for name, at in axis.units._mapping.items()}
        return [names.get(round(float(one)), "") for one in positions]
    return [float(one) for one in positions]


def _points(ax, label, points):
    points = points[:MOST_VALUES]
    x, y = _values(ax.xaxis, [p[0] for p in points]), _values(ax.yaxis, [p[1] for p in points])
    return {"label": label, "points": list(zip(x, y))}


def _tick_at(axis, position):
    """The label of the tick that somebody put there, else the position."""
    ticks = list(axis.get_majorticklocs())
    for tick, label in zip(ticks, axis.get_major_formatter().format_ticks(ticks)):
        if label and abs(tick - position) < 1e-9:
            return str(label)
    return str(round(float(position), 6))


def _bars(axis, container, horizontal):
    for bar in container.patches:
        if horizontal:
            centre, value = bar.get_y() + bar.get_height() / 2, bar.get_width()
        else:
            centre, value = bar.get_x() + bar.get_width() / 2, bar.get_height()
        yield {"label": _tick_at(axis, centre), "group": container.get_label(), "value": value}


def _boxes(ax):
    """(whether they lie, the boxes), or None where there are none: matplotlib keeps shapes, not what they are of."""
    from matplotlib.patches import PathPatch

    if any(not isinstance(one, PathPatch) for one in ax.patches):
        return None
    lines = [line.get_xydata() for line in ax.lines]
    shapes = [one.get_path().vertices for one in ax.patches] or [
        one for one in lines if len(one) == 5 and (one[0] == one[4]).all()
    ]
    if not shapes or len(lines) < 5 * len(shapes):
        return None
    for lying in (False, True):
        turned = [line[:, ::-1] if lying else line for line in lines]
        axis = ax.yaxis if lying else ax.xaxis
        boxes = [_box(axis, shape[:, ::-1] if lying else shape, turned) for shape in shapes]
        if all(boxes):
            return lying, list({box["label"]: box for box in boxes}.values())
    return None


def _box(axis, shape, lines):
    (left, low), (right, high) = shape.min(axis=0), shape.max(axis=0)
    centre, found, outliers = (left + right) / 2, {}, []
    for line in lines:
        x, y = line[:, 0], line[:, 1]
        if not len(line) or x.min() < left - 1e-9 or x.max() > right + 1e-9:
            continue
        if len(line) == 2 and x[0] == x[1] and (y.max() <= low or y.min() >= high):
            found["max" if y.min() >= high else "min"] = y.max() if y.min() >= high else y.min()
        elif len(line) == 2 and y[0] == y[1] and low <= y[0] <= high and x[1] - x[0] > (right - left) / 2 + 1e-9:
            found["median"] = y[0]
        elif abs(x - centre).max() < 1e-9 and (y.max() > high or y.min() < low):
            outliers = y.tolist()
    if len(found) < 3:
        return None
    return {
        "label": _tick_at(axis, centre),
        "min": found["min"],
        "first_quartile": low,
        "median": found["median"],
        "third_quartile": high,
        "max": found["max"],
        "outliers": outliers,
    }
