"""What happens to samples between their files and a network: images read, labels numbered, parts
split, transforms, statistics, augmentation."""
