"""A tiny BERT that tells the README's table rows and code from its prose, trained by the `Trainer` of transformers.

The model is made from a config object and randomly initialised: nothing is fetched.
"""

from pathlib import Path

import torch
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

README = Path(__file__).parents[2] / "README.md"
LENGTH = 32


class Lines(Dataset):
    """Every line of the README, byte by byte; the label says whether it is prose."""

    def __init__(self):
        self.rows = []
        code = False
        for line in README.read_text(encoding="utf-8").splitlines():
            fence = line.startswith("```")
            code = code != fence
            if line.strip():
                self.rows.append(_row(line, prose=not (code or fence or line.startswith("|"))))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


def _row(line, *, prose):
    letters = list(line.encode())[:LENGTH]
    padding = LENGTH - len(letters)
    return {
        "input_ids": torch.tensor(letters + [0] * padding),
        "attention_mask": torch.tensor([1] * len(letters) + [0] * padding),
        "labels": torch.tensor(int(prose)),
    }


def make_model():
    config = BertConfig(
        vocab_size=256,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=LENGTH,
        num_labels=2,
    )
    return BertForSequenceClassification(config)


def make_trainer(model, folder, **options):
    settings = {"per_device_train_batch_size": 16, "learning_rate": 1e-3, "max_steps": 4, "seed": 0, **options}
    arguments = TrainingArguments(
        output_dir=folder,
        use_cpu=True,
        disable_tqdm=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        **settings,
    )
    return Trainer(model=model, args=arguments, train_dataset=Lines())


def freeze_embeddings(model):
    model.bert.embeddings.requires_grad_(requires_grad=False)
    return model
