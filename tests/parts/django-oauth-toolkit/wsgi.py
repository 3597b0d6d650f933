"""What gunicorn serves: the application, over a database that is made new at every start."""

import django
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

django.setup()
call_command("migrate", verbosity=0)
application = get_wsgi_application()
