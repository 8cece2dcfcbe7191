"""Where tiles meet other parts of torch: foreign layers, gradients, the compiler, parallel training."""
