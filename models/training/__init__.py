"""From archived examples to a judged version: towers, gate, the role that answers triggers."""
