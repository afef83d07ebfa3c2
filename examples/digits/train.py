"""A small convolutional network that reads handwritten digits: the 1,797 real ones that ship inside scikit-learn."""

import torch
from sklearn import datasets
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class DigitNet(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Linear(32 * 4 * 4, classes)

    def forward(self, images):
        return self.head(self.features(images))


def load_digits():
    """Return the digits for training and those for testing: images of 8 x 8 pixels from 0 to 1, and what they show."""
    digits = datasets.load_digits()
    images = torch.from_numpy(digits.images).float().unsqueeze(1) / 16
    data = TensorDataset(images, torch.from_numpy(digits.target).long())
    return random_split(data, [0.8, 0.2], generator=torch.Generator().manual_seed(0))


def batches(data, size=64):
    return DataLoader(data, batch_size=size, shuffle=True, drop_last=True)


def train_step(model, optimizer, batch):
    images, labels = batch
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss.detach()


def train(model, optimizer, loader, epochs):
    model.train()
    for _ in range(epochs):
        for batch in loader:
            loss = train_step(model, optimizer, batch)
    return loss.item()


@torch.no_grad()
def evaluate(model, data):
    """Return the share of digits that are read correctly."""
    model.eval()
    images, labels = next(iter(DataLoader(data, batch_size=len(data))))
    return (model(images).argmax(dim=1) == labels).float().mean().item()


def reuse(model, classes):
    """Keep what the network has learned to see, and let a new head learn to tell other classes apart."""
    model.features.requires_grad_(requires_grad=False)
    model.head = nn.Linear(model.head.in_features, classes)
    return model


def main():
    torch.manual_seed(0)
    training, testing = load_digits()
    model = DigitNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loss = train(model, optimizer, batches(training), epochs=5)
    print(f"loss {loss:.3f}, {evaluate(model, testing):.1%} of the digits read correctly")


if __name__ == "__main__":
    main()
