"""Networks and stages that tests share."""
