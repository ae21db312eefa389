"""Books read through a cache in front of MySQL: the cache-aside pattern.

A read asks the cache first. On a miss it asks the database, and leaves the row in the
cache for --ttl seconds. A write changes the database first and then deletes the row from
the cache, so that the next read fetches the new one. (A reader that overlaps the write
can put the old row back; the time to live ends that.) While the cache is down every read
goes to the database: slower, but right.

    python cache_aside.py --mysql-socket /run/mysqld/mysqld.sock --create
    python cache_aside.py --mysql-socket /run/mysqld/mysqld.sock 1 2 3
    python cache_aside.py --mysql-socket /run/mysqld/mysqld.sock --update 1 --rating 9.5

It needs python-memcached and PyMySQL. A password is taken from the variable MYSQL_PWD.
"""

import argparse
import os

import memcache
import pymysql

CREATE_TABLE = """
    CREATE TABLE IF NOT EXISTS doubandb.books (
        id INT UNSIGNED PRIMARY KEY,
        title VARCHAR(200) NOT NULL,
        author VARCHAR(100) NOT NULL,
        rating DECIMAL(3, 1) NOT NULL
    ) CHARACTER SET utf8mb4"""
INSERT_BOOK = "INSERT IGNORE INTO doubandb.books VALUES (%s, %s, %s, %s)"
SELECT_BOOK = "SELECT id, title, author, rating FROM doubandb.books WHERE id = %s"
UPDATE_RATING = "UPDATE doubandb.books SET rating = %s WHERE id = %s"

SAMPLES = [
    (1, "三体", "刘慈欣", 8.9),
    (2, "红楼梦", "曹雪芹", 9.6),
    (3, "活着", "余华", 9.4),
    (4, "The Hobbit", "J. R. R. Tolkien", 9.0),
]


def create(cursor):
    cursor.execute("CREATE DATABASE IF NOT EXISTS doubandb")
    cursor.execute(CREATE_TABLE)
    cursor.executemany(INSERT_BOOK, SAMPLES)
    print("doubandb.books is ready")


def key_of(book_id):
    return f"book:{book_id}"


def read(cursor, cache, book_id, ttl_s):
    """Return the book, or None, and where it came from."""
    book = cache.get(key_of(book_id))  # None when it is not there, or the cache is down
    if book is not None:
        return book, "the cache"
    cursor.execute(SELECT_BOOK, (book_id,))
    book = cursor.fetchone()
    if book is not None:
        cache.set(key_of(book_id), book, time=ttl_s)
    return book, "the database"


def update(cursor, cache, book_id, rating):
    """Change a rating; return whether there is such a book."""
    cursor.execute(UPDATE_RATING, (rating, book_id))
    # After the write, and not set but deleted: of two writers at once, the one that comes
    # last to the cache may have come first to the database.
    cache.delete(key_of(book_id))
    return cursor.rowcount > 0


def parse_options():
    parser = argparse.ArgumentParser(description="Read books through a cache.")
    parser.add_argument("--mysql-socket", required=True, metavar="PATH")
    parser.add_argument("--mysql-user", default="root")
    parser.add_argument("--cache", default="127.0.0.1:11211", metavar="HOST:PORT")
    parser.add_argument("--ttl", type=int, default=60, metavar="SECONDS")
    parser.add_argument("--create", action="store_true", help="make the table, with samples")
    parser.add_argument("--update", type=int, metavar="ID", help="change the rating of a book")
    parser.add_argument("--rating", type=float)
    parser.add_argument("books", type=int, nargs="*", metavar="BOOK_ID")
    options = parser.parse_args()
    if not 1 <= options.ttl <= 30 * 24 * 60 * 60:  # the protocol takes more for a date
        parser.error("--ttl must be from 1 second to 30 days")
    if (options.update is None) != (options.rating is None):
        parser.error("--update and --rating go together")
    return options


def main():
    options = parse_options()
    cache = memcache.Client([options.cache])
    if not cache.get_stats():
        print(f"the cache {options.cache} is down, using only the database")
    database = pymysql.connect(
        unix_socket=options.mysql_socket,
        user=options.mysql_user,
        password=os.environ.get("MYSQL_PWD", ""),
        charset="utf8mb4",
        autocommit=True,  # a write must be visible before its cache key is deleted
        client_flag=pymysql.constants.CLIENT.FOUND_ROWS,  # count rows found, changed or not
        cursorclass=pymysql.cursors.DictCursor,
    )
    with database, database.cursor() as cursor:
        if options.create:
            create(cursor)
        if options.update is not None:
            found = update(cursor, cache, options.update, options.rating)
            print(f"book {options.update}: {'updated' if found else 'no such book'}")
        for book_id in options.books:
            book, source = read(cursor, cache, book_id, options.ttl)
            if book is None:
                print(f"book {book_id}: no such book")
            else:
                print(f"book {book_id}: from {source} "
                      f"({book['title']}, {book['author']}, {book['rating']})")


if __name__ == "__main__":
    main()
