"""Messages of the LoadGen service and of sut-server's own extension; generated stubs stand here."""
