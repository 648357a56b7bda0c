package io.fraudctl.local;

import java.net.InetAddress;
import java.net.InetSocketAddress;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.handler.ContextHandler;
import software.amazon.dynamodb.services.local.server.LocalDynamoDBRequestHandler;
import software.amazon.dynamodb.services.local.server.LocalDynamoDBServerHandler;

/**
 * DynamoDB Local on the loopback interface: its own main class listens on every interface and has no option against
 * that. Nothing of its telemetry is set up here.
 */
public final class DynamoDb {
  private DynamoDb() {}

  /** Takes the port and the folder for the data, which must exist. */
  public static void main(String[] arguments) throws Exception {
    int port = Integer.parseInt(arguments[0]);
    // One file for all regions and access keys (-sharedDb); tables are ACTIVE at once (no -delayTransientStatuses).
    LocalDynamoDBRequestHandler requests = new LocalDynamoDBRequestHandler(0, false, arguments[1], true, false);
    Server server = new Server(new InetSocketAddress(InetAddress.getByName("127.0.0.1"), port));
    server.setHandler(new ContextHandler(new LocalDynamoDBServerHandler(requests, null)));
    server.setStopAtShutdown(true);
    try {
      server.start();
    } catch (Exception e) {
      System.err.println("DynamoDB Local cannot listen on 127.0.0.1:" + port + ": " + e.getMessage());
      System.exit(1); // threads of the request handler would keep the JVM alive
    }
    System.out.println("DynamoDB Local listens on 127.0.0.1:" + port + ", data in " + arguments[1]);
    server.join();
  }
}
