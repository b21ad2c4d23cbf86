"""Training a segmentation model on data-set folders: how the paper asks what synthetic images are worth."""

from consumer.training.run import TrainingResult, train_segmenter
from consumer.training.settings import TrainingSettings
from consumer.training.task import Task, read_task

__all__ = ["Task", "TrainingResult", "TrainingSettings", "read_task", "train_segmenter"]
