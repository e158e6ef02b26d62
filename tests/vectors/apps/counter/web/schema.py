"""Makes the table, once the database is healthy, and ends."""

import os

import psycopg2

connection = psycopg2.connect(os.environ["DATABASE"], password=open("/run/secrets/password").read())
with connection, connection.cursor() as cursor:
    cursor.execute("CREATE TABLE IF NOT EXISTS visits (id serial PRIMARY KEY, counted bigint NOT NULL)")
print("the table is there")
