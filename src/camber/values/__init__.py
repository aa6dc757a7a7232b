"""What a value is: its model, order, bytes, text and ids. Pure: nothing here waits or does I/O."""
