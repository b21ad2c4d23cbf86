"""Train a segmentation model on data-set folders, the paper's test of how useful synthetic images are."""

from consumer.training.task import Task, read_task
from consumer.training.train_segmenter import TrainingResult, train_segmenter
from consumer.training.training_settings import TrainingSettings

__all__ = ["Task", "TrainingResult", "TrainingSettings", "read_task", "train_segmenter"]
