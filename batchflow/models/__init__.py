"""Model systems. They know no batches; each framework is imported only when it is used."""
