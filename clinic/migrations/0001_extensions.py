"""PostgreSQL extensions that the schema needs: btree_gist for "no two reservations of one resource overlap"."""

from django.contrib.postgres.operations import BtreeGistExtension
from django.db import migrations


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [BtreeGistExtension()]
