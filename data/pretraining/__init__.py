"""What `make_base.py` is made of: texts, tokenizer, training, measuring, card."""
