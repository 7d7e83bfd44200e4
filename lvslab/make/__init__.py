"""The pipeline and what comes of it: `images` makes everything."""

from lvslab.make.chart import Profile
from lvslab.make.foresight import forecast, watched
from lvslab.make.pipeline import Pipeline
from lvslab.make.publishing import Built, images, plan
from lvslab.make.report import Artifact
from lvslab.make.trees import Options

__all__ = [
    "Artifact",
    "Built",
    "Options",
    "Pipeline",
    "Profile",
    "forecast",
    "images",
    "plan",
    "watched",
]
