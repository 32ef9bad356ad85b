"""What a node asks of its database: filters, sorts, updates and aggregates compiled into Plans, cached by shape.

SQLAlchemy is the only author of SQL; it runs when a shape is seen for the first time. A warm call walks the filter,
coerces its values, looks up the Plan and hands its SQL to the driver.
"""
