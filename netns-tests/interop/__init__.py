"""What the interop tests share: tunnel ends of both makers, streams that count, captures read."""
