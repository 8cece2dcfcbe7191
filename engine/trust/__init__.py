"""The border to what others wrote: whether their code runs, how their files are opened, how their
texts are shown. Each kind has one place here, and everything else calls it."""
