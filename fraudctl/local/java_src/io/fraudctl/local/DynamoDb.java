package io.fraudctl.local;

import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import org.eclipse.jetty.http.HttpFields;
import org.eclipse.jetty.http.HttpHeader;
import org.eclipse.jetty.server.Handler;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.server.Response;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.handler.ContextHandler;
import org.eclipse.jetty.util.Callback;
import software.amazon.dynamodb.services.local.server.LocalDynamoDBRequestHandler;
import software.amazon.dynamodb.services.local.server.LocalDynamoDBServerHandler;

/**
 * DynamoDB Local on the loopback interface: its own main class listens on every interface and has no option against
 * that, and answers every web page. Nothing of its telemetry is set up here.
 */
public final class DynamoDb {
  private DynamoDb() {}

  /** Takes the port and the folder for the data, which must exist. */
  public static void main(String[] arguments) throws Exception {
    int port = Integer.parseInt(arguments[0]);
    // One file for all regions and access keys (-sharedDb); tables are ACTIVE at once (no -delayTransientStatuses).
    LocalDynamoDBRequestHandler requests = new LocalDynamoDBRequestHandler(0, false, arguments[1], true, false);
    Server server = new Server(new InetSocketAddress(InetAddress.getByName("127.0.0.1"), port));
    server.setHandler(new Guard(new ContextHandler(new LocalDynamoDBServerHandler(requests, null))));
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

  /** Answers a request that {@link SameOrigin} refuses with 403, in the form that clients of DynamoDB read. */
  private static final class Guard extends Handler.Wrapper {
    Guard(Handler handler) {
      super(handler);
    }

    @Override
    public boolean handle(Request request, Response response, Callback callback) throws Exception {
      HttpFields headers = request.getHeaders();
      String why =
          SameOrigin.refusal(
              headers.get(HttpHeader.HOST), headers.get(HttpHeader.ORIGIN), headers.get("Sec-Fetch-Site"));
      if (why == null) return super.handle(request, response, callback);
      String type = "com.amazon.coral.service#AccessDeniedException";
      String body = "{\"__type\":\"" + type + "\",\"message\":\"" + why + "\"}";
      response.setStatus(403);
      response.getHeaders().put(HttpHeader.CONTENT_TYPE, "application/x-amz-json-1.0");
      response.write(true, ByteBuffer.wrap(body.getBytes(StandardCharsets.UTF_8)), callback);
      return true;
    }
  }
}
